"""What goes out: tables, image sets and generators. One method, one file.

The room is also the verb: ``sfumato.publish(data, target=..., epsilon=...)`` calls
:func:`sfumato.api.publish`.
"""

from __future__ import annotations

from sfumato._rooms import make_callable

make_callable(__name__)
