"""An adapter that makes a stock xrdp server a broker of Sojourn, through the broker SDK alone (docs/brokers.md)."""
