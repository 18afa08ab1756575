"""Scoring embeddings on labelled audio: tasks, probes, protocols and reports."""
