"""Network, inputs, losses and learner of the models that are trained."""
