"""Automatic structured pruning: scores -> boundaries -> kept filters -> smaller network + plan.

Pure functions of weights; nothing here knows of clients or rounds' training.
"""
