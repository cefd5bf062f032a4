"""Measuring speech systems: suites, systems under test, judges, a resumable runner and its report."""
