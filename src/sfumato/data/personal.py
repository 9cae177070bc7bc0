"""Columns that no noise makes publishable: names, ids, contact details and free text.

Told by what is public, a column's name; values are never looked at to propose a schema.
"""

from __future__ import annotations

import re

_IDENTIFIER = (
    r"ids?|uuid|guid|ssn|nin|nhs|iban|bic|passport|licen[cs]e|imei|vin|plate|account|"
    r"phone|mobile|tel|telephone|fax|e?mails?|url|uri|ip|mac|login|username|"
    r"names?|surname|forename|firstname|lastname|fullname|nickname|address|street|signature"
)
_TEXT = (
    r"comments?|notes?|remarks?|descriptions?|text|freetext|message|feedback|review|narrative|"
    r"abstract|reason_text"
)
_LONG = 40
_WORDS = 5


def refusal(name: str) -> str | None:
    """Why a column of this name is left out of a draft, and what to do; None if it is not.

    >>> refusal("patient_id")
    'an identifier, by its name; if a person may have several rows, make it the unit'
    >>> refusal("e-mail"), refusal("age")
    ('an identifier, by its name', None)
    """
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name)
    words = re.sub(r"[^a-z0-9]+", "_", words.lower().replace("e-mail", "email")).strip("_")
    if re.search(rf"(^|_)({_TEXT})$", words):
        return "free text, by its name"
    if not re.search(rf"(^|_)({_IDENTIFIER})$", words):
        return None
    said = "an identifier, by its name"
    if re.search(r"(^|_)(id|ids|uuid|guid|ssn|account|username|login)$", words):
        return f"{said}; if a person may have several rows, make it the unit"
    return said


def looks_personal(value: str) -> bool:
    """Whether a value that is no declared level looks like contact details or free text."""
    return "@" in value or len(value) > _LONG or len(value.split()) > _WORDS
