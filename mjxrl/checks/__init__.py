"""Whether the product keeps what it promises: parity with Gymnasium, the learners' properties."""
