"""Logins: one small class a kind, each putting a login into requests and saying what to do when it is refused."""

from pi_dagster.piwebapi.auth.authentication import Authentication
from pi_dagster.piwebapi.auth.gate import LoginGate
from pi_dagster.piwebapi.auth.kinds import authentication_for
from pi_dagster.piwebapi.auth.refusal import refused_login

__all__ = ["Authentication", "LoginGate", "authentication_for", "refused_login"]
