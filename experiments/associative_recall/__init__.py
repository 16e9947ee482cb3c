"""The associative-recall benchmark (MQAR): sequences, training at equal size, reports."""
