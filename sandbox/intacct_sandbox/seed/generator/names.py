"""Names of people, firms and things, invented."""

from __future__ import annotations

from random import Random


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_FIRST = _words("""
    Ana Ben Carla Dev Elena Farid Grace Hugo Ines Jamal Kira Liam Maya Noah Olga Priya Quentin Rosa
    Sam Tara Umar Vera Wei Ximena Yusuf Zoe Aaron Bianca Cyrus Daphne Emil Freya Gavin Hana
""")
_LAST = _words("""
    Abbott Baptiste Carver Duarte Eklund Fontaine Gallagher Hashimoto Ivanov Jensen Kowalski
    Lindqvist Mbeki Nakamura Okafor Petrov Quigley Romano Silva Tanaka Underwood Vargas Whitlock
    Xu Yilmaz Zimmer Ashworth Bergstrom Castellanos Donnelly Espinoza Farrell
""")
_FIRM = _words("""
    Alder Beacon Cedar Delta Ember Falcon Granite Harbor Indigo Juniper Keystone Lumen Meridian
    Northwind Orchard Pinnacle Quarry Redwood Summit Tidewater Umbra Vantage Willow Yarrow Zenith
    Anchor Bluestone Crescent Driftwood Evergreen
""")
_TRADE = _words("""
    Logistics Foods Robotics Health Energy Textiles Media Instruments Marine Optics Packaging
    Pharma Publishing Rail Software Steel Studios Systems Tools Travel Water Wood
""")
_FORM = ("Inc", "LLC", "Ltd", "Group", "Partners", "& Co", "Corp", "Holdings")

SERVICES = (
    "Implementation services",
    "Monthly subscription",
    "Support retainer",
    "Training day",
    "Data migration",
    "Custom integration",
    "On-site consulting",
    "Licence true-up",
    "Managed hosting",
    "Security review",
)
"""What the company sells."""

PURCHASES = (
    "Office rent",
    "Cloud hosting",
    "Travel",
    "Contract labour",
    "Software licences",
    "Legal fees",
    "Advertising",
    "Equipment lease",
    "Utilities",
    "Courier",
    "Recruiting",
    "Insurance premium",
)
"""What it buys."""


def person(random: Random) -> str:
    """Return a first and a last name."""
    return f"{random.choice(_FIRST)} {random.choice(_LAST)}"


def firms(random: Random, count: int) -> list[str]:
    """Return it as many different firms."""
    names: dict[str, None] = {}
    for _ in range(count * 50):
        if len(names) == count:
            break
        names[f"{random.choice(_FIRM)} {random.choice(_TRADE)} {random.choice(_FORM)}"] = None
    return list(names)
