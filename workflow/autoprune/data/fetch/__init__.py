"""Files that data sets are made of: fetched or put there by hand, checked, unpacked."""
