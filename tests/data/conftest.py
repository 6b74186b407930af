from hypothesis import settings

# a busy machine is slow now and then, and that is no fault of the code
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
