"""The made-up runs and studies that these tests share with others."""

from made_studies import finished, run_folder, stage_fixture, study

__all__ = ["finished", "run_folder", "stage_fixture", "study"]
