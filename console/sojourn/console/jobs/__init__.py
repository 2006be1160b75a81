"""Export jobs: what was asked for, who works on it, where the files lie, and schedules that ask again and again."""
