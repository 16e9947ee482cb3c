"""Second-order and Bayesian memories."""
