"""Before a clip becomes a voice: is it usable speech of one person, and did that person agree?"""
