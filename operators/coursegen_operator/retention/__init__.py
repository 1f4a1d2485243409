"""RetentionPolicy: what is removed from the database when, as a CronJob."""
