"""Who asks, for which tenant, and what that allows."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final, Literal, get_args
from uuid import UUID

from msgspec import Struct

from sojourn.projections import acts

Permission = Literal["read", "disconnect", "export", "audit", "administer", "platform"]
Role = Literal["viewer", "operator", "analyst", "auditor", "tenant_admin", "platform_admin"]

PLATFORM: Final = acts.PLATFORM  # the tenant of who belongs to none; no tenant can have this name

PERMISSIONS: Final[frozenset[Permission]] = frozenset(get_args(Permission))
ROLES: Final[Mapping[Role, frozenset[Permission]]] = {
    "viewer": frozenset({"read"}),
    "operator": frozenset({"read", "disconnect"}),
    "analyst": frozenset({"read", "export"}),
    "auditor": frozenset({"read", "audit"}),
    "tenant_admin": PERMISSIONS - {"platform"},
    "platform_admin": PERMISSIONS,
}


class Principal(Struct, frozen=True):
    """Who asks; all that is read and done for the request is about `tenant`.

    `home` is the tenant of the account or token: another than `tenant` only where `platform` is allowed. `actor` and
    `origin` (a client's address) are what `admin_action` keeps. A token has no `sign_in_id`; `confirmed_at` is when a
    person last proved to be this one. Who `has_to_choose` a password may do nothing else.
    """

    tenant: str
    home: str
    actor: str
    origin: str
    permissions: frozenset[Permission]
    account_id: UUID | None = None
    display_name: str = ""
    locale: str | None = None
    sign_in_id: bytes | None = None
    confirmed_at: datetime | None = None
    has_to_choose: bool = False
    token_id: str | None = None

    def may(self, permission: Permission) -> bool:
        """Tell whether this is allowed."""
        return permission in self.permissions


def permissions_of(roles: Iterable[str]) -> frozenset[Permission]:
    """Return what these roles allow together; a role that is not known allows nothing."""
    return frozenset().union(*(ROLES[role] for role in ROLES if role in set(roles)))
