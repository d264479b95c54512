"""What using this package costs, beside its peers and beside what nobody can do without."""
