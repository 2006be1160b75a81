"""Who somebody is: accounts, sign-ins, tokens of the API, and other people's sign-in."""
