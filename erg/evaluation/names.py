"""What figures are called: in files and goals by the key, before readers by the words."""

METRICS = {
    "log_likelihood/held_out": "Log-likelihood of held-out data, nats a row",
    "log_likelihood/train": "Log-likelihood of training data, nats a row",
    "log_likelihood/held_out/low": "Log-likelihood of held-out data by reverse annealing",
    "log_z": "Log partition function, nats",
    "log_z/lower": "Log partition function, forward annealing",
    "log_z/upper": "Log partition function, reverse annealing",
    "log_z/bracket": "Reverse minus forward, nats",
    "frechet_distance": "Fréchet distance to training data",
    "kernel_distance": "Kernel distance to training data",
    "class_kl": "Class coverage: KL to uniform",
    "confidence": "Mean confidence of the classifier",
    "confidence_held_out": "Mean confidence on held-out data",
    "frechet_distance/raw": "Fréchet distance to training data, of raw values",
    "kernel_distance/raw": "Kernel distance to training data, of raw values",
    "nearest_train_distance": "Distance to the nearest training row",
    "nearest_train_distance_held_out": "The same distance from held-out data",
    "auroc/noise": "AUROC of held-out data against noise",
    "auroc/blurred": "AUROC of held-out data against blurred",
    "auroc/flipped": "AUROC of held-out data against flipped",
    "auroc/shrunk": "AUROC of held-out data against shrunk",
    "energy/train": "Energy of training data",
    "energy/held_out": "Energy of held-out data",
    "energy/samples": "Energy of samples",
    "energy/noise": "Energy of noise",
    "non_finite": "Samples that are not finite, or have no finite energy",
    "non_finite/train": "Training rows without a finite energy",
    "non_finite/held_out": "Held-out rows without a finite energy",
    "non_finite/noise": "Noise without a finite energy",
}
"""Of an evaluation; a recipe may set goals for these."""

JUDGED = ("frechet_distance", "kernel_distance", "class_kl", "confidence", "confidence_held_out")
"""Those that depend on the classifier."""

LOOKS = {
    "quality": "Distance of samples to training data",
    "gap/train": "Held-out energy above training",
    "gap/noise": "Noise energy above held-out",
}
"""Of a look during training, beside those of the same name."""
