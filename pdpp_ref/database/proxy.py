"""The database that the program works on; `connect` binds it."""

import peewee

db = peewee.DatabaseProxy()
