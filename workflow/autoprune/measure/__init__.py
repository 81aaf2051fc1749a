"""What is measured on finished networks and on networks that learnt nothing."""
