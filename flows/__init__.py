"""Orchestration: Prefect flows over DVC's own graph, storage and reproduction."""
