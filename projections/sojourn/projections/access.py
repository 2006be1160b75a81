"""Whether a client connects from inside or from the public internet."""

from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Final

Networks = tuple[IPv4Network | IPv6Network, ...]

INTERNAL_NETWORKS_DEFAULT: Final[Networks] = tuple(
    ip_network(network)
    for network in (
        "10.0.0.0/8",  # RFC 1918
        "172.16.0.0/12",
        "192.168.0.0/16",
        "fc00::/7",  # RFC 4193
        "127.0.0.0/8",  # loopback
        "::1/128",
        "169.254.0.0/16",  # link-local
        "fe80::/10",
    )
)


@lru_cache(maxsize=65536)
def derived_access(client_ip: str, networks: Networks = INTERNAL_NETWORKS_DEFAULT) -> str:
    """Return `internal` when the address lies in one of the networks, otherwise `public`.

    An IPv4 address written as IPv6 (`::ffff:10.0.0.1`) is judged as what it is.
    """
    address = ip_address(client_ip)
    address = getattr(address, "ipv4_mapped", None) or address
    inside = any(address in network for network in networks if network.version == address.version)
    return "internal" if inside else "public"
