"""Logins: one small class a kind, each putting a login into requests and saying what to do when it is refused."""

from pi_dagster.piwebapi.auth.authentication import Authentication
from pi_dagster.piwebapi.auth.gate import LoginGate
from pi_dagster.piwebapi.auth.kinds import authentication_for
from pi_dagster.piwebapi.auth.refusal import refused_login
from pi_dagster.piwebapi.auth.refusal_memory import RefusalMemory, forget_refusal

__all__ = ["Authentication", "LoginGate", "RefusalMemory", "authentication_for", "forget_refusal", "refused_login"]
