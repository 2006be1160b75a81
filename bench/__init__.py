"""Speed, each figure beside its limit or peer in the same run; `make bench`, results in docs/performance.md."""
