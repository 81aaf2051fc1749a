"""File formats that several sources share."""
