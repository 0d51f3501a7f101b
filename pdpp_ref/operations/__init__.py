"""Operations of the whole database: verify, transfer, demo data."""
