"""Which evaluations of a run make its accuracy."""

LAST = 5  # their mean is the accuracy: single ones swing by points
