# This file is part of marketing_automation.  The COPYRIGHT file at the top
# level of this repository contains the full copyright notices and license
# terms.
"""Names to make customers and products of"""

COMPANY = "Meridian Coffee Roasters"

# How many of a hundred parties speak the language
SHARES = {'en': 36, 'de': 28, 'fr': 20, 'es': 16}
COUNTRIES = {
    'en': ("Ireland", ["Dublin", "Cork", "Galway", "Limerick"]),
    'de': ("Germany", ["Hamburg", "Leipzig", "Köln", "Freiburg"]),
    'fr': ("France", ["Lyon", "Nantes", "Lille", "Bordeaux"]),
    'es': ("Spain", ["Valencia", "Sevilla", "Bilbao", "Málaga"]),
    }
GIVEN_NAMES = {
    'en': [
        "Aoife", "Brian", "Ciara", "Daniel", "Eve", "Fiona", "George",
        "Hannah", "Isla", "Jack", "Kate", "Liam", "Maeve", "Noah", "Orla",
        "Patrick", "Rose", "Sean", "Tara", "William"],
    'de': [
        "Anna", "Björn", "Clara", "Dieter", "Elke", "Felix", "Greta",
        "Heike", "Ines", "Jörg", "Käthe", "Lukas", "Marie", "Nils", "Ole",
        "Paula", "Rolf", "Silke", "Tim", "Ute"],
    'fr': [
        "Agnès", "Baptiste", "Chloé", "Damien", "Élodie", "François",
        "Geneviève", "Hugo", "Inès", "Julien", "Léa", "Mathieu", "Noémie",
        "Olivier", "Pauline", "Quentin", "Rémi", "Solène", "Théo", "Zoé"],
    'es': [
        "Alba", "Benito", "Carmen", "Diego", "Elena", "Fermín", "Gloria",
        "Hugo", "Inés", "Javier", "Lucía", "Martín", "Nuria", "Óscar",
        "Pilar", "Raúl", "Sofía", "Tomás", "Valeria", "Ximena"],
    }
FAMILY_NAMES = {
    'en': [
        "Byrne", "Doyle", "Fletcher", "Gallagher", "Hughes", "Kelly",
        "Lynch", "Murphy", "Nolan", "O’Brien", "Quinn", "Ryan", "Walsh"],
    'de': [
        "Albrecht", "Brandt", "Dietz", "Engel", "Fuchs", "Groß", "Hartmann",
        "Jäger", "Keller", "Lindner", "Möller", "Schäfer", "Vogt"],
    'fr': [
        "Aubert", "Blanc", "Chevalier", "Dupuis", "Fournier", "Girard",
        "Lefèvre", "Marchand", "Moreau", "Perrin", "Renaud", "Tessier"],
    'es': [
        "Aguilar", "Blanco", "Castro", "Delgado", "Fuentes", "Guerrero",
        "Ibáñez", "Lozano", "Medina", "Núñez", "Ortega", "Peña", "Rubio"],
    }
COMPANIES = {
    'en': ["Harbour Café", "Bakery", "The Reading Room", "Hotel"],
    'de': ["Café", "Bäckerei", "Gasthof", "Buchhandlung"],
    'fr': ["Café", "Boulangerie", "Hôtel", "Librairie"],
    'es': ["Cafetería", "Panadería", "Hostal", "Librería"],
    }
MAIL_HOSTS = [
    'mail.example', 'post.example', 'correo.example', 'courrier.example']
# Where a security product opens every e-mail before the people may
SCANNED_HOST = 'bank.example'

# Coffees and their prices for a kilogram
COFFEES = {
    "Finca La Esperanza": '29.00',
    "Yirgacheffe Konga": '34.50',
    "Harbour Blend": '22.80',
    "Nyeri Gatomboya": '39.00',
    "Sumatra Gayo": '27.40',
    "Decaf Huila": '31.20',
    }
