"""The words of the simulated world: tenants, brokers, people, pools and what they connect with."""

from typing import Final, NamedTuple

from sojourn.events.fields import TerminalType


class Company(NamedTuple):
    """A tenant, its clock (fixed, without daylight saving) and the share of names in an East Asian script."""

    name: str
    offset_minutes: int
    east_asian_share: float


COMPANIES: Final = (
    Company("acme", 60, 0.04),
    Company("globex", -300, 0.04),
    Company("initech", 480, 0.7),
    Company("umbrella", 0, 0.04),
    Company("hooli", -480, 0.1),
    Company("wonka", 60, 0.04),
    Company("tyrell", 540, 0.8),
    Company("stark", -360, 0.04),
    Company("cyberdyne", 330, 0.1),
    Company("duff", 600, 0.2),
)

REGIONS: Final = ("eu", "us", "ap")
POOLS: Final = ("office", "cad", "dev", "finance", "support", "training")
POOL_LABELS: Final = ("Office", "CAD", "DEV", "Finance", "Support", "Training")
POOL_SHARES: Final = ((0.4, 0), (0.62, 1), (0.78, 2), (0.88, 3), (0.96, 4), (1.0, 5))  # cumulative


def _words(*rows: str) -> tuple[str, ...]:
    return tuple(word for row in rows for word in row.split())


FIRST_NAMES: Final = _words(
    "Ada Grace Katherine Alan Edsger Barbara Donald Margaret Dennis Frances Niklaus Radia Leslie Shafi Tony Hedy John",
    "Žofie José Björn Zoë Małgorzata Søren Çelik İrem Łukasz Chloë Renée Jiří Amélie Fatima Omar Priya Arjun Chidi",
    "Amara Olga Dmitri Ines Paulo Siobhán Noël Ingrid Håkon Elif Mateo",
)
LAST_NAMES: Final = _words(
    "Byron Hopper Johnson Turing Dijkstra Liskov Knuth Hamilton Ritchie Allen Wirth Perlman Lamport Goldwasser Hoare",
    "Lamarr Backus Nováková Núñez Müller O'Brien Wójcik Ångström Yavaş Ferreira D'Souza Okafor Sørensen Björk Kowalski",
    "García-López Weiß Petrov Haddad Sharma Lindqvist Rossi Şahin Costa Bernárd Jansen Nagy Popescu Ibrahim Eze",
    "Smith Jones Brown",
)
EAST_ASIAN_NAMES: Final = tuple(
    f"{family}{between}{given}"
    for families, between, givens in (
        ("王 李 张 刘 陈 杨 黄 赵 吴 周", "", "伟 芳 娜 敏 静 丽 强 磊 洋 艳 秀英 建国 小龙 雨桐"),
        ("佐藤 鈴木 高橋 田中 渡辺 伊藤 山本", " ", "健 さくら 陽菜 大翔 美咲 翔太 結衣"),
        ("김 이 박 최 정 강", "", "민준 서연 지훈 하은 도윤 수빈"),
    )
    for family in families.split()
    for given in givens.split()
)


class Kind(NamedTuple):
    """A sort of terminal; a connection with it breaks `cuts_per_hour` times on average."""

    type: TerminalType
    systems: tuple[str, ...]
    versions: tuple[str, ...]
    protocols: tuple[str, ...]
    prefix: str
    cuts_per_hour: float


THIN: Final = Kind(
    "thin_client",
    ("Linux", "ThinOS 9", "Windows 10 IoT"),
    ("7.1", "7.0", "6.9"),
    ("blast", "pcoip"),
    "TC",
    0.025,
)
SOFT: Final = Kind(
    "soft_client",
    ("Windows 11", "Windows 10", "macOS 15", "Ubuntu 24.04"),
    ("7.2", "7.1", "6.8"),
    ("blast", "rdp"),
    "LT",
    0.07,
)
MOBILE: Final = Kind("mobile", ("Android 15", "Android 14", "iOS 18", "iPadOS 18"), ("7.1", "7.0"), ("blast",), "", 0.5)
BROWSER: Final = Kind(
    "browser", ("Windows 11", "macOS 15", "ChromeOS", "Linux"), ("132", "131", "128"), ("blast",), "", 0.08
)
OTHER: Final = Kind("other", ("zero client", "ChromeOS", "FreeBSD 14"), ("5.4", "5.3"), ("pcoip", "rdp"), "ZC", 0.03)

CUT_DETAILS: Final = {
    "network": ("tunnel reset", "connection timed out", "peer unreachable", "TLS alert: close notify missing"),
    "error": ("desktop agent stopped answering", "display protocol error 0x19", "virtual machine halted"),
}
