"""What the API and the pages share: who asks, what they may do, the way to the database, how answers are guarded."""
