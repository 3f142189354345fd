"""What a run tells while it runs and afterwards: sums between log lines, metrics files, alarms, curves."""
