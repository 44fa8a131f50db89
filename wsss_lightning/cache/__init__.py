"""Results of finished steps, found again by what they were made from."""
