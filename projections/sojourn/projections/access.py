"""Whether a client connects from inside or from the public internet."""

from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_network
from socket import AF_INET, AF_INET6, inet_pton
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
_MAPPED: Final = 0xFFFF  # ::ffff:0:0/96 holds IPv4


def derived_access(client_ip: str, networks: Networks = INTERNAL_NETWORKS_DEFAULT) -> str:
    """Return `internal` when the address lies in one of the networks, otherwise `public`.

    An IPv4 address written as IPv6 (`::ffff:10.0.0.1`) is judged as what it is.
    """
    version = 4
    if ":" in client_ip:
        number = int.from_bytes(inet_pton(AF_INET6, client_ip))
        if number >> 32 == _MAPPED:
            number &= 0xFFFFFFFF
        else:
            version = 6
    else:
        number = int.from_bytes(inet_pton(AF_INET, client_ip))
    prefixes = _DEFAULT[version] if networks is INTERNAL_NETWORKS_DEFAULT else _prefixes(networks, version)
    for prefix, bits in prefixes:
        if number >> bits == prefix:
            return "internal"
    return "public"


@lru_cache(maxsize=1024)  # for 4 and 6, of each list of networks that tenants have
def _prefixes(networks: Networks, version: int) -> tuple[tuple[int, int], ...]:
    """Return the leading bits of each network of an IP version, and how many bits follow them.

    ipaddress takes ten times as long to tell whether a network holds an address.
    """
    return tuple(
        (int(network.network_address) >> bits, bits)
        for network in networks
        if network.version == version
        for bits in (network.max_prefixlen - network.prefixlen,)
    )


# Looking networks up in the cache hashes each of them, in Python: a tenth of what a lifecycle event costs.
_DEFAULT: Final = {version: _prefixes(INTERNAL_NETWORKS_DEFAULT, version) for version in (4, 6)}
