"""The programs `mjxrl-train`, `mjxrl-evaluate`, …: each reads its flags, sets the process up and calls the library."""
