"""The site as a whole: nobody gets in without a credential, and every answer is guarded."""

from tests.integration.rows import insert_tenant
from tests.integration.site_steps import Console


async def test_a_token_reads_its_own_tenant_and_no_other(console: Console) -> None:
    async with console.rows() as connection:
        await insert_tenant(connection, "acme")
        await insert_tenant(connection, "other")
    client = await console.client("acme", "read")

    own = await client.get("/v1/freshness")
    others = await client.get("/v1/freshness", params={"tenant": "other"})
    unknown = await client.get("/v1/freshness", params={"tenant": "nobody"})

    assert own.status_code == 200
    assert (others.status_code, others.content) == (404, unknown.content)


async def test_who_shows_no_good_credential_is_told_to_sign_in(console: Console) -> None:
    nothing = await console.visitor().get("/v1/freshness")
    wrong = await console.visitor({"Authorization": "Bearer sja_0000000000000000_" + "x" * 43}).get("/v1/freshness")

    assert (nothing.status_code, wrong.status_code) == (401, 401)
    assert nothing.content == wrong.content


async def test_every_answer_tells_the_browser_to_run_nothing_foreign(console: Console) -> None:
    async with console.rows() as connection:
        await insert_tenant(connection, "acme")
    client = await console.client("acme", "read")

    for path in ("/t/acme/sessions", "/v1/freshness"):
        answer = await client.get(path)
        assert answer.status_code == 200, answer.text
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["cache-control"] == "no-store"


async def test_connections_that_the_server_ended_meanwhile_are_not_used_again(console: Console) -> None:
    async with console.rows() as connection:
        await insert_tenant(connection, "acme")
    client = await console.client("acme", "read")
    await client.get("/v1/sessions")

    ended = await console.execute(
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
        " WHERE backend_type = 'client backend' AND state = 'idle' AND query NOT LIKE '%LISTEN%'"
        " AND pid <> pg_backend_pid() AND datname = current_database()"
    )
    answer = await client.get("/v1/sessions")

    assert ended
    assert answer.status_code == 200
