"""The report of a release: one HTML file, in a public and in a custodian's edition."""

from sfumato.report.audited import audit_page
from sfumato.report.comparison import comparison_page
from sfumato.report.page import page

__all__ = ["audit_page", "comparison_page", "page"]
