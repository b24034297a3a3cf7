"""The parts of recommending: who asks, what may be offered, what is popular, publishing."""
