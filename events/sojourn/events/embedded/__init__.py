"""The PostgreSQL of one machine and the log in it; needs `sojourn[server]`."""
