"""What an evaluation looks like to people: one HTML file, its Markdown, and maps of embeddings."""

from downstream.report.projection import Projection, project
from downstream.report.write import write_report

__all__ = ["Projection", "project", "write_report"]
