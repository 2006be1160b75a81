"""What becomes of a password that is judged while something else happens to its account, or that nobody can have."""

from typing import Final

import pytest

from sojourn.console.identity.passwords import Passwords
from tests.integration.identity_steps import new_tenant, site
from tests.integration.site_steps import PASSWORD, PASSWORD_HASH, Console

__all__ = ["site"]

pytestmark = pytest.mark.asyncio(loop_scope="module")

RESET: Final = "UPDATE sojourn.account SET password_hash = 'another' WHERE tenant = %s"
DISABLED: Final = "UPDATE sojourn.account SET disabled_at = now() WHERE tenant = %s"
ENDED: Final = "UPDATE sojourn.sign_in SET ended_at = now() WHERE tenant = %s"
OPEN: Final = "SELECT count(*) FROM sojourn.sign_in WHERE tenant = %s AND ended_at IS NULL"
CHOSEN: Final = "seven purple elephants"


def meanwhile(site: Console, monkeypatch: pytest.MonkeyPatch, change: str, tenant: str) -> None:
    """Let something happen between the moment a password was found to be right and what follows from that."""
    verify = Passwords.verify

    async def judged(self: Passwords, kept: str | None, password: str) -> bool:
        answer = await verify(self, kept, password)
        await site.execute(change, [tenant])
        return answer

    monkeypatch.setattr(Passwords, "verify", judged)


@pytest.mark.parametrize("change", [RESET, DISABLED])
async def test_a_password_that_is_no_good_any_more_signs_nobody_in(
    site: Console, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    tenant = await new_tenant(site)
    await site.person(tenant, name=f"ada-{tenant}")
    await site.execute(ENDED, [tenant])
    meanwhile(site, monkeypatch, change, tenant)

    answer = await site.browser().post("/sign-in", data={"name": f"ada-{tenant}", "password": PASSWORD})

    assert (answer.status_code, "set-cookie" in answer.headers) == (401, False)
    assert await site.execute(OPEN, [tenant]) == [(0,)]


@pytest.mark.parametrize("change", [RESET, DISABLED, ENDED])
@pytest.mark.parametrize("path", ["/confirm", "/account"])
async def test_a_sign_in_that_was_ended_meanwhile_gets_none_in_its_place(
    site: Console, monkeypatch: pytest.MonkeyPatch, path: str, change: str
) -> None:
    tenant = await new_tenant(site)
    person = await site.person(tenant)
    meanwhile(site, monkeypatch, change, tenant)

    answer = await person.post(path, data={"password": PASSWORD, "new": CHOSEN, "again": CHOSEN})

    assert (answer.status_code, "set-cookie" in answer.headers) == (401, False)
    kept = await site.execute("SELECT password_hash FROM sojourn.account WHERE tenant = %s", [tenant])
    assert kept == [("another" if change == RESET else PASSWORD_HASH,)]


@pytest.mark.parametrize("name", ["a\0b", "\ud800", "x" * 5000, "ädmin", "admİn", "", " "])
async def test_a_name_that_nobody_can_have_gets_the_answer_of_a_wrong_password(site: Console, name: str) -> None:
    body = b"password=x&name=" + "".join(f"%{byte:02x}" for byte in name.encode("utf-8", "surrogatepass")).encode()
    form = {"Content-Type": "application/x-www-form-urlencoded"}

    answer = await site.browser().post("/sign-in", content=body, headers=form)

    assert answer.status_code == 401
