# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""Requests to the servers of others, without database

address.py  which hosts may be asked, at which of their addresses
signing.py  what proves to the receiver who sends, and that it is sent once
post.py     one request over a connection to an address that was checked

What users enter as URL is hostile: only https, no redirect is followed, and
no more than a little of an answer is read, for no more than some seconds.
"""
