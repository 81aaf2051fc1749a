"""What is published: from CSV, with neither torch nor flwr."""
