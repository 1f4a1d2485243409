"""Parsing: a file of any of six formats becomes normalised text with sections that point into it."""

from services.stage_worker.parsing.model import ParsedDocument, Section
from services.stage_worker.parsing.parser import MEDIA_TYPES, parse

__all__ = ["MEDIA_TYPES", "ParsedDocument", "Section", "parse"]
