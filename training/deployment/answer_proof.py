"""Proof that a person answered in Airflow: made there with the key, verified by `approve`.

The task that asks holds the answer before any command does, and signs it with the key of the
records (``HOURGLASS_RECORD_KEY``) in its environment; see ``dags/hourglass_tasks.py``.  A proof is
good for one decision, one answer, one name and one time.  It shows that whoever made it had the
key, no more; without a key nothing can be proven, and the time of an answer is that of the command.
"""

from __future__ import annotations

import hashlib
import hmac


def proof_of(key: bytes, decision: str, approved: bool, by: str, at: str) -> str:
    """HMAC-SHA256 of an answer, in hex.

    Args:
        key: of the records.
        decision: file name, which ends in the beginning of the decision's checksum.
        approved: the answer.
        by: who gave it.
        at: when, as it will be written.
    """
    fields = ["approved" if approved else "rejected", decision, at, by]
    return hmac.new(key, "\n".join(fields).encode(), hashlib.sha256).hexdigest()


def is_proven(
    key: bytes | None, proof: str | None, decision: str, approved: bool, by: str, at: str
) -> bool:
    """Whether a proof is of this very answer; never without a key."""
    if key is None or not proof:
        return False
    return hmac.compare_digest(proof_of(key, decision, approved, by, at), proof)
