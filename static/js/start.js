// Says that scripts run, so that CSS may hide what only helps without them. Every file below works alone.
document.documentElement.classList.add("has-js");
