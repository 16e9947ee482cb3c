"""Learning curves and final returns of our agents beside other libraries', behind `lifelong bench learning`."""
