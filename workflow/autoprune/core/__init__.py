"""What every room stands on: errors, files, seeds, code versions, labels. Imports no other room."""
