"""Which addresses count as internal when the broker does not say."""

from ipaddress import ip_network

import pytest

from sojourn.projections.access import derived_access

INTERNAL = [
    "10.0.0.0",
    "10.255.255.255",
    "172.16.0.0",
    "172.31.255.255",
    "192.168.0.0",
    "192.168.255.255",
    "127.0.0.1",
    "127.255.255.255",
    "169.254.0.0",
    "169.254.255.255",
    "::1",
    "fc00::",
    "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    "fe80::",
    "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    "::ffff:10.4.2.17",
]
PUBLIC = [
    "9.255.255.255",
    "11.0.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "192.167.255.255",
    "192.169.0.0",
    "126.255.255.255",
    "128.0.0.0",
    "169.253.255.255",
    "169.255.0.0",
    "203.0.113.9",  # documentation, which Python's own is_private takes for private
    "100.64.0.1",  # a provider's own network is not the tenant's
    "0.0.0.0",  # noqa: S104 - an address like any other here
    "::",
    "::2",
    "fbff:ffff::",
    "fe00::",
    "fec0::",
    "2001:db8::17",
    "::ffff:8.8.8.8",
]


@pytest.mark.parametrize("client_ip", INTERNAL)
def test_private_loopback_and_link_local_addresses_are_internal(client_ip: str) -> None:
    assert derived_access(client_ip) == "internal"


@pytest.mark.parametrize("client_ip", PUBLIC)
def test_every_other_address_is_public(client_ip: str) -> None:
    assert derived_access(client_ip) == "public"


def test_a_tenants_own_networks_replace_the_default_ones() -> None:
    networks = (ip_network("203.0.113.0/24"), ip_network("2001:db8::/32"))

    access = [derived_access(ip, networks) for ip in ("203.0.113.9", "2001:db8::17", "::ffff:203.0.113.9", "10.0.0.1")]

    assert access == ["internal", "internal", "internal", "public"]


def test_a_network_of_one_kind_holds_no_address_of_the_other() -> None:
    everything_six, everything_four = (ip_network("::/0"),), (ip_network("0.0.0.0/0"),)

    assert derived_access("203.0.113.9", everything_six) == "public"
    assert derived_access("::ffff:203.0.113.9", everything_four) == "internal"
    assert derived_access("2001:db8::17", everything_four) == "public"
