"""What the tests need beside the tests themselves."""

import os

# What distributions keep for administrators, as pgbouncer and runuser, is not on everybody's PATH.
os.environ["PATH"] = f"{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin:/sbin"
