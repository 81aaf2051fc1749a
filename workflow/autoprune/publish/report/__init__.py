"""The report: one page of claims, tables, figures and runs, with the origin of each number."""
