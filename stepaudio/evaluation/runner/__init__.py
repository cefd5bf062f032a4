"""Plan, run, judge, report: four steps over one folder, each of which takes up where it was stopped."""
